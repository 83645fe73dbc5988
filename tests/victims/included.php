<?php
// What `attacks.php` may include.
return 1;
