<p><?= count($pictures) ?> pictures, <?= array_sum($pictures) ?> bytes.</p>
