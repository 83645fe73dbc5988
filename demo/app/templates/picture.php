<?php $link = rawurlencode($name) ?>
<p><a href="/uploads/<?= $link ?>"><img src="/thumb/<?= $link ?>?size=64" alt=""></a>
by <?= self::e($owner ?? 'somebody') ?></p>
<form method="post" action="/postcard"><input type="hidden" name="name" value="<?= self::e($name) ?>">
<input name="to"> <textarea name="text"></textarea> <button>Send as a postcard</button></form>
<?php if ($user !== null && $user === $owner): ?>
<form method="post" action="/delete"><input type="hidden" name="names[]" value="<?= self::e($name) ?>">
<button>Delete</button></form>
<?php endif ?>
