<?php
declare(strict_types=1);

namespace Gallery;

/** One method for each page; none of them touches a file or a socket itself. */
final class Pages
{
    public function home(): void
    {
        $list = Cache::remember('list', 300.0, function (): string {
            return Template::part('list', ['pictures' => Storage::all()]);
        });
        Template::page('home', ['title' => 'All pictures', 'list' => $list]);
    }

    public function stats(): void
    {
        $numbers = Cache::remember('stats', 0.2, function (): string {
            return Template::part('numbers', ['pictures' => Storage::all()]);
        });
        Template::page('stats', ['title' => 'Numbers', 'numbers' => $numbers]);
    }

    public function loginForm(): void
    {
        Template::page('login', ['title' => 'Log in']);
    }

    public function login(): void
    {
        if (Session::login($this->field('user'), $this->field('password'))) {
            Log::add('login of ' . $this->field('user'));
            $this->redirect('/');
        } else {
            $this->error(403, 'Wrong name or password.');
        }
    }

    public function logout(): void
    {
        Session::logout();
        $this->redirect('/');
    }

    public function upload(): void
    {
        $user = Session::user();
        $file = $_FILES['picture'] ?? null;
        if ($user === null) {
            $this->error(403, 'Log in first.');
        } elseif (!is_array($file) || $file['error'] !== UPLOAD_ERR_OK) {
            $this->error(400, 'No picture came along.');
        } else {
            $name = Storage::store($file['tmp_name'], $file['name'], $user);
            Cache::drop('list');
            Log::add("$user uploaded $name");
            $this->redirect('/picture/' . rawurlencode($name));
        }
    }

    public function delete(): void
    {
        $user = Session::user();
        if ($user === null) {
            $this->error(403, 'Log in first.');
            return;
        }
        foreach ((array) ($_POST['names'] ?? []) as $name) {
            if (Storage::delete((string) $name, $user)) {
                Thumbnailer::forget((string) $name);
                Log::add("$user deleted $name");
            }
        }
        Cache::drop('list');
        $this->redirect('/');
    }

    public function postcard(): void
    {
        $name = $this->field('name');
        if (!is_file(Storage::file(basename($name)))) {
            $this->error(404, 'There is no such picture.');
        } elseif (Mailer::send($this->field('to'), "A postcard: $name", $this->field('text'))) {
            Template::page('message', ['title' => 'Sent', 'text' => 'Your postcard is on its way.']);
        } else {
            $this->error(502, 'The post office is closed.');
        }
    }

    public function picture(string $name): void
    {
        if (!is_file(Storage::file($name))) {
            $this->error(404, 'There is no such picture.');
            return;
        }
        Template::page('picture', ['title' => $name, 'name' => $name, 'owner' => Storage::owner($name)]);
    }

    public function thumb(string $name): void
    {
        $thumb = Thumbnailer::get($name, (string) ($_GET['size'] ?? '16'));
        if ($thumb === null) {
            $this->error(422, 'No thumbnail can be made of this.');
            return;
        }
        header('Content-Type: image/bmp');
        echo $thumb;
    }

    public function original(string $name): void
    {
        if (!Storage::send($name)) {
            $this->error(404, 'There is no such picture.');
        }
    }

    public function error(int $status, string $text): void
    {
        http_response_code($status);
        Template::page('message', ['title' => "Error $status", 'text' => $text]);
    }

    private function redirect(string $to): void
    {
        http_response_code(303);
        header("Location: $to");
        echo "See $to\n";
    }

    private function field(string $name): string
    {
        return is_string($_POST[$name] ?? null) ? $_POST[$name] : '';
    }
}
