<?php
/* A script of the profile that everybody may write, as far as the file system goes. */
function page(string $file): void
{
    touch($file);
}
