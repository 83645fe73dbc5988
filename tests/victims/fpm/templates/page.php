Hello, <?= htmlspecialchars($name) ?>
