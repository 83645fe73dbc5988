<?php
declare(strict_types=1);

namespace Gallery;

/** Hands one letter to the local mail server (SMTP). */
final class Mailer
{
    public static function send(string $to, string $subject, string $text): bool
    {
        $clean = function (string $line): string {
            return trim(preg_replace('/[\r\n<>]+/', ' ', $line));
        };
        $server = @stream_socket_client(Config::mail(), $number, $reason, 5.0);
        if ($server === false) {
            Log::add("mail: $reason");
            return false;
        }
        stream_set_timeout($server, 5);
        $body = preg_replace('/^\./m', '..', preg_replace('/\r\n?|\n/', "\r\n", $text));
        $letter = 'To: ' . $clean($to) . "\r\nSubject: " . $clean($subject) . "\r\n\r\n" . $body . "\r\n.";
        $dialogue = [
            [null, '220'],
            ['EHLO gallery.example', '250'],
            ['MAIL FROM:<gallery@gallery.example>', '250'],
            ['RCPT TO:<' . $clean($to) . '>', '250'],
            ['DATA', '354'],
            [$letter, '250'],
            ['QUIT', '221'],
        ];
        foreach ($dialogue as list($say, $expect)) {
            if ($say !== null) {
                fwrite($server, $say . "\r\n");
            }
            do {
                $line = (string) fgets($server);
            } while (substr($line, 3, 1) === '-');
            if (strncmp($line, $expect, 3) !== 0) {
                Log::add('mail: wanted ' . $expect . ', got ' . trim($line));
                fclose($server);
                return false;
            }
        }
        fclose($server);
        return true;
    }
}
