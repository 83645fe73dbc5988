<?php

// Makes no system call: it has a granted function make them.
for ($n = 0; $n < $count; $n++) {
    Store::purge("$folder/$n");
}
