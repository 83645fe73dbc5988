<?php
declare(strict_types=1);

// The front controller. `do` says what; DATA (a FastCGI parameter) is the one folder that may be written.
define('BASE', dirname(__DIR__));
define('DATA', $_SERVER['DATA']);

require BASE . '/src/Good.php';
require BASE . '/src/Bad.php';
require BASE . '/src/names.php';
require BASE . '/src/closures_good.php';
require BASE . '/src/closures_bad.php';

spl_autoload_register(function (string $class): void {
    require BASE . '/src/' . str_replace('\\', '/', $class) . '.php';
});

/** The files that an attack or its twin is about. */
function targets(): array
{
    $folder = DATA . '/' . $_GET['in'];
    return array_map(fn ($name) => "$folder/$name", array_values(array_diff(scandir($folder), ['.', '..'])));
}

function respond(string $text): void
{
    header('Content-Type: text/plain');
    header('X-Worker: ' . getmypid());
    echo $text, "\n";
}

switch ($_GET['do'] ?? 'page') {
    case 'page':
        respond(Page::show($_GET['name'] ?? 'nobody'));
        break;
    case 'session':
        respond((string) Visits::count());
        break;
    case 'upload':
        respond(Uploads::store());
        break;
    case 'shell':
        respond(Good::size($_GET['file']));
        break;
    case 'socket':
        respond((string) Good::send($_GET['to'], 1));
        break;
    case 'slow':
        usleep((int) $_GET['us']);
        respond('slept');
        break;
    case 'plugin':
        foreach (glob(BASE . '/plugins/*.php') as $plugin) {
            include_once $plugin;
        }
        respond(function_exists('plugin_run') ? plugin_run() : 'no plugin');
        break;

    // What is in the profile …
    case 'good-static':
        respond((string) Good::drop(targets()));
        break;
    case 'good-closure':
        respond((string) $good_closure(targets()));
        break;
    case 'good-deep':
        respond((string) Good::deep(200, targets()));
        break;
    case 'include':
        respond((string) Good::included($_GET['file'], targets()));
        break;
    case 'good-eval':
        respond((string) Good::evaluate(targets()));
        break;
    case 'good-destructor':
        $at_the_end = new Good\Closer(targets());
        respond('later');
        break;
    case 'good-shutdown':
        foreach (targets() as $target) {
            register_shutdown_function('rename', $target, "$target.moved");
        }
        respond('later');
        break;
    case 'good-name':
        respond((string) tidy(targets()));
        break;
    case 'load':
        respond((string) Good::load(targets(), $_GET['mode']));
        break;

    // … and what is not.
    case 'bad-static':
        respond((string) Bad::drop(targets()));
        break;
    case 'bad-closure':
        respond((string) $bad_closure(targets()));
        break;
    case 'bad-deep':
        respond((string) Bad::deep(200, targets()));
        break;
    case 'bad-eval':
        respond((string) Bad::evaluate(targets()));
        break;
    case 'bad-destructor':
        $at_the_end = new Bad\Closer(targets());
        respond('later');
        break;
    case 'bad-shutdown':
        foreach (targets() as $target) {
            register_shutdown_function('unlink', $target);
        }
        respond('later');
        break;
    case 'bad-name':
        respond((string) Evil\tidy(targets()));
        break;
    case 'bad-shell':
        respond((string) Bad::shell($_GET['command'], 500));
        break;
    case 'bad-socket':
        respond((string) Bad::send($_GET['to'], 2000));
        break;
}
