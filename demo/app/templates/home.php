<?= $list ?>
<?php if ($user !== null): ?>
<form method="post" action="/upload" enctype="multipart/form-data">
<input type="file" name="picture"> <button>Upload</button></form>
<?php endif ?>
