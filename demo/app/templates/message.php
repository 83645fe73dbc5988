<p><?= self::e($text) ?></p>
