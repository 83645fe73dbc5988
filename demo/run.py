#!/usr/bin/env python3
"""Reference driver: plays requests.json against the gallery, with no tracer anywhere.

    run.py [--fpm] [--unix-mail] [--php PROGRAM] [--rounds N] [--user NAME] [--keep]

Starts a mail sink and the application (PHP's own server, or php-fpm with --fpm) as an ordinary
user on a fresh data directory, plays the honest requests, then the attacks, and checks every
expectation: here, where nothing is enforced, all attacks must succeed. Status 0 if all is so.
Python 3.9 or later, standard library only; needs root to change the user.
"""
import argparse, http.client, json, os, pwd, shutil, signal, socket, struct, subprocess, sys, tempfile, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
INDEX = os.path.join(HERE, "app/public/index.php")


class Sink:
    """The mail server: what README.md says under "The mail sink"."""

    def __init__(self, unix_path=None):
        self.lines, self.letters, self.lock = [], [], threading.Lock()
        tcp = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = tcp.getsockname()[1]
        listeners = [tcp]
        if unix_path:
            unix = socket.socket(socket.AF_UNIX)
            unix.bind(unix_path)
            os.chmod(unix_path, 0o666)
            unix.listen(64)
            listeners.append(unix)
        for listener in listeners:
            threading.Thread(target=self.accept, args=(listener,), daemon=True).start()

    def accept(self, listener):
        while True:
            threading.Thread(target=self.serve, args=(listener.accept()[0],), daemon=True).start()

    def serve(self, connection):
        try:
            with connection, connection.makefile("rwb") as stream:
                def say(text):
                    stream.write(text.encode() + b"\r\n")
                    stream.flush()
                say("220 sink ready")
                letter = None
                for raw in stream:
                    line = raw.decode("utf-8", "replace").rstrip("\r\n")
                    with self.lock:
                        self.lines.append(line)
                    word = line.split(" ")[0].split(":")[0].upper()
                    if letter is not None:
                        if line == ".":
                            with self.lock:
                                self.letters.append(letter)
                            letter = None
                            say("250 taken")
                        else:
                            letter.append(line[1:] if line.startswith("..") else line)
                    elif word in ("EHLO", "HELO", "MAIL", "RCPT"):
                        say("250 ok")
                    elif word == "DATA":
                        letter = []
                        say("354 go on")
                    elif word == "QUIT":
                        say("221 bye")
                        return
                    else:
                        say("500 what?")
                        return
        except OSError:
            pass


class BuiltIn:
    """PHP's own server."""

    def __init__(self, args, work, data, env, user):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.process = subprocess.Popen(
            [args.php or "php", "-d", f"upload_tmp_dir={data}/tmp", "-S", f"127.0.0.1:{self.port}",
             "-t", os.path.dirname(INDEX), INDEX],
            env={**os.environ, **env}, stdin=subprocess.DEVNULL,
            stdout=open(f"{work}/php.log", "ab"), stderr=subprocess.STDOUT,
            start_new_session=True, **user)
        wait_for(self.process, lambda: socket.create_connection(("127.0.0.1", self.port)).close())

    def ask(self, method, path, headers, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(method, path, body or None, headers)
        answer = connection.getresponse()
        result = answer.status, answer.read()
        connection.close()
        return result


class Fpm:
    """php-fpm, its environment cleared but for env[...] in the pool; a FastCGI client."""

    def __init__(self, args, work, data, env, user):
        self.socket = f"{work}/fpm.sock"
        with open(f"{work}/fpm.conf", "w") as conf:
            conf.write(f"[global]\nerror_log = {work}/php.log\ndaemonize = no\n"
                       f"[gallery]\nlisten = {self.socket}\npm = static\npm.max_children = 2\n"
                       f"clear_env = yes\nphp_admin_value[upload_tmp_dir] = {data}/tmp\n")
            conf.writelines(f"env[{name}] = {value}\n" for name, value in env.items())
        program = args.php or next((p for p in ("php-fpm", "php-fpm8.2") if shutil.which(p)), "php-fpm")
        self.process = subprocess.Popen(
            [program, "-y", f"{work}/fpm.conf", "-F"], stdin=subprocess.DEVNULL,
            stdout=open(f"{work}/out.log", "ab"), stderr=subprocess.STDOUT,
            start_new_session=True, **user)
        wait_for(self.process, lambda: self.connect().close())

    def connect(self):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20)
        connection.connect(self.socket)
        return connection

    def ask(self, method, path, headers, body):
        params = {
            "GATEWAY_INTERFACE": "CGI/1.1", "SERVER_PROTOCOL": "HTTP/1.1", "SERVER_SOFTWARE": "run.py",
            "SERVER_NAME": "localhost", "SERVER_PORT": "80", "REMOTE_ADDR": "127.0.0.1",
            "REQUEST_METHOD": method, "REQUEST_URI": path, "QUERY_STRING": path.partition("?")[2],
            "SCRIPT_FILENAME": INDEX, "SCRIPT_NAME": "/index.php", "DOCUMENT_ROOT": os.path.dirname(INDEX),
            "CONTENT_LENGTH": str(len(body)) if body else "",
        }
        for name, value in headers.items():
            name = name.upper().replace("-", "_")
            params[name if name == "CONTENT_TYPE" else "HTTP_" + name] = value

        def record(kind, content):
            return struct.pack("!BBHHBB", 1, kind, 1, len(content), 0, 0) + content

        def length(text):
            return bytes([len(text)]) if len(text) < 128 else struct.pack("!I", len(text) | 1 << 31)

        packed = b"".join(length(n) + length(v) + n + v
                          for n, v in ((n.encode(), v.encode()) for n, v in params.items()))
        with self.connect() as connection, connection.makefile("rb") as stream:
            message = record(1, struct.pack("!HB5x", 1, 0)) + record(4, packed) + record(4, b"")
            for at in range(0, len(body), 65535):
                message += record(5, body[at:at + 65535])
            connection.sendall(message + record(5, b""))
            output = b""
            while True:
                header = stream.read(8)
                if len(header) < 8:
                    raise ConnectionError("the worker went away")
                _, kind, _, size, padding, _ = struct.unpack("!BBHHBB", header)
                content = stream.read(size + padding)[:size]
                if kind == 6:
                    output += content
                elif kind == 3:
                    break
        head, _, content = output.partition(b"\r\n\r\n")
        status = 200
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"status:"):
                status = int(line.split()[1])
        return status, content


def wait_for(process, attempt):
    for _ in range(200):
        if process.poll() is not None:
            sys.exit(f"the server ended at once, status {process.returncode}")
        try:
            return attempt()
        except OSError:
            time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    sys.exit("the server does not answer")


class Driver:
    def __init__(self, server, sink, data, secret):
        self.server, self.sink, self.failures = server, sink, 0
        self.places = {"{data}": data, "{secret}": secret, "{port}": str(sink.port)}

    def fill(self, text, n=1):
        for name, value in {**self.places, "{n}": str(n)}.items():
            text = text.replace(name, value)
        return text

    def fail(self, text):
        self.failures += 1
        print("  FAIL", text)

    def play(self, request):
        """Sends a request as often as it wants, checks each answer, returns the answers."""
        answers = []
        for n in range(1, request.get("repeat", 1) + 1):
            time.sleep(request.get("wait_ms", 0) / 1000)
            what = f"{request['name']}: {request['method']} {request['path'][:60]}"
            try:
                status, body = self.server.ask(
                    request["method"], self.fill(request["path"], n),
                    {k: self.fill(v, n) for k, v in request["headers"].items()},
                    self.fill(request["body"], n).encode())
            except (OSError, http.client.HTTPException) as problem:
                self.fail(f"{what}: {problem!r}")
                continue
            answers.append(body)
            if status != request["status"] or self.fill(request["contains"], n).encode() not in body:
                self.fail(f"{what}: wanted {request['status']} {request['contains']!r}, got {status} {body[-300:]!r}")
        return answers

    def attack(self, attack):
        """Returns how many of the attempts had their effect."""
        effect = attack["effect"]
        kind, count = effect["kind"], effect["count"]
        paths = [self.fill(effect["path"], n) for n in range(1, count + 1)] if kind.startswith("file-") else []
        texts = [self.fill(effect.get("text", ""), n) for n in range(1, count + 1)]
        for path in paths:
            if kind == "file-deleted":
                open(path, "w").write("a victim\n")
            elif os.path.exists(path):
                os.unlink(path)
        with self.sink.lock:
            self.sink.lines.clear()
        answers = [answer for request in attack["requests"] for answer in self.play(request)]
        if kind == "file-deleted":
            done = sum(not os.path.exists(path) for path in paths)
        elif kind == "file-created":
            done = sum(os.path.exists(path) for path in paths)
        elif kind == "answer-contains":
            done = sum(texts[0].encode() in answer for answer in answers)
        else:
            assert kind == "sink-received", kind
            with self.sink.lock:
                done = sum(any(text in line for line in self.sink.lines) for text in texts)
        for path in [self.fill(path) for path in attack["leaves"]] + paths:
            if os.path.exists(path):
                os.unlink(path)
        return done


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--fpm", action="store_true")
    parser.add_argument("--unix-mail", action="store_true", help="mail over a unix socket")
    parser.add_argument("--php", help="the php or php-fpm program")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--user", default="www-data")
    parser.add_argument("--keep", action="store_true", help="keep the work directory")
    args = parser.parse_args()

    plan = json.load(open(os.path.join(HERE, "requests.json")))
    account = pwd.getpwnam(args.user)
    user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    work = tempfile.mkdtemp(prefix="gallery-")
    server = None
    try:
        data, secret = f"{work}/data", f"{work}/secret.txt"
        for below in plan["directories"]:
            os.makedirs(f"{data}/{below}")
        open(secret, "w").write(plan["secret_text"])
        for folder, _, _ in os.walk(work):
            if user:
                os.chown(folder, account.pw_uid, account.pw_gid)
        os.chmod(work, 0o755)

        sink = Sink(f"{work}/mail.sock" if args.unix_mail else None)
        mail = f"unix://{work}/mail.sock" if args.unix_mail else f"tcp://127.0.0.1:{sink.port}"
        server = (Fpm if args.fpm else BuiltIn)(args, work, data, {"GALLERY_DATA": data, "GALLERY_MAIL": mail}, user)
        driver = Driver(server, sink, data, secret)

        sent = 0
        for _ in range(args.rounds):
            for request in plan["honest"]:
                driver.play(request)
                sent += 1
        letters = sum(letter[-3:] == ["Look!", ".", "A dot alone."] for letter in sink.letters)
        wanted = args.rounds * sum(r["name"] == "postcard" for r in plan["honest"])
        if letters != wanted:
            driver.fail(f"{letters} letters arrived, not {wanted}")
        print(f"honest: {sent} requests, {letters} letters, {driver.failures} failures")
        for attack in plan["attacks"]:
            done = driver.attack(attack)
            if done != attack["attempts"]:
                driver.fail(f"{attack['id']}: not every attempt succeeded")
            print(f"attack: {done:2} of {attack['attempts']} succeeded: {attack['name']}")
        for request in plan["honest"]:
            driver.play(request)
        print("honest traffic after the attacks played")
        print("PASS" if driver.failures == 0 else f"{driver.failures} FAILURES; warnings in the server's log:")
        if driver.failures:
            log = open(f"{work}/php.log", errors="replace").read().splitlines()
            print("\n".join([line for line in log if "PHP " in line][-10:]))
        return 1 if driver.failures else 0
    finally:
        if server and server.process.poll() is None:
            os.killpg(server.process.pid, signal.SIGTERM)  # its own group: nobody else is in it
            try:
                server.process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(server.process.pid, signal.SIGKILL)
                server.process.wait()
        if args.keep:
            print("kept:", work)
        else:
            shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
