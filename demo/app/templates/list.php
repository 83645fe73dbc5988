<div class="list">
<?php foreach ($pictures as $name => $size): ?>
<a href="/picture/<?= rawurlencode((string) $name) ?>"><?= self::e((string) $name) ?> (<?= $size ?> bytes)</a>
<?php endforeach ?>
</div>
