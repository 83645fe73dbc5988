<!doctype html>
<html lang="en" class="<?= $preferences['theme'] ?>">
<head><meta charset="utf-8"><title><?= self::e($title) ?> - Gallery</title>
<style>
body { font-family: sans-serif; max-width: 60em; margin: 1em auto; }
.dark { background: #222; color: #ddd; }
.list { display: grid; grid-template-columns: repeat(<?= $preferences['columns'] ?>, 1fr); }
</style></head>
<body>
<p class="banner"><?= self::e($banner) ?></p>
<nav><a href="/">Pictures</a> <a href="/stats">Numbers</a>
<?php if ($user === null): ?>
<a href="/login">Log in</a>
<?php else: ?>
<form method="post" action="/logout"><?= self::e($user) ?> <button>Log out</button></form>
<?php endif ?>
</nav>
<h1><?= self::e($title) ?></h1>
<?= $content ?>
</body></html>
