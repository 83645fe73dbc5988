<?php
// The front controller. `do`: `page`, `bytes` (of the literals), or who attacks: `literal`, `fresh`.

require __DIR__ . '/literals.php';

class Good
{
    static function page(): void
    {
        file_put_contents($_SERVER['DATA'] . '/app.log', "a page\n", FILE_APPEND);
        echo 'a page';
    }

    static function delete(string $at): bool
    {
        return @unlink($at);
    }
}

class Bad
{
    /** Constants of a script that the opcode cache holds, for all workers. */
    static function literal(int $n): void
    {
        foreach (LITERALS[$n] as $at) {
            @unlink($at);
        }
    }

    /** Made in this request. */
    static function fresh(string $at): void
    {
        for ($k = 0; $k < 3; $k++) {
            @unlink("$at-$k");
        }
    }
}

header('Content-Type: text/plain');
header('X-Worker: ' . getmypid());
$n = (int) ($_GET['n'] ?? 0);
switch ($_GET['do'] ?? 'page') {
    case 'bytes':
        echo bin2hex(serialize(LITERALS));
        break;
    case 'cached':
        echo json_encode(opcache_get_status(true)['scripts'][__DIR__ . '/literals.php']['hits'] ?? null);
        break;
    case 'delete':
        echo (int) Good::delete($_SERVER['DATA'] . "/targets/$n-0");
        break;
    case 'literal':
        Bad::literal($n);
        break;
    case 'fresh':
        Bad::fresh($_SERVER['DATA'] . "/targets/$n");
        break;
    default:
        Good::page();
}
