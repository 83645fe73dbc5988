<?php
// Leaves a grandchild behind, which is nobody's child in the pool. It waits until it is told to, and then destroys.
$c = FFI::cdef('int fork(void); void _exit(int); int usleep(unsigned);');
$data = $_SERVER['DATA'];
if ($c->fork() === 0) {
    if ($c->fork() === 0) {
        while (!file_exists("$data/go")) {
            clearstatcache();
            $c->usleep(10000);
        }
        foreach (glob("$data/a/*") as $target) {
            unlink($target);
        }
        touch("$data/done");
    }
    $c->_exit(0);
}
echo 'left behind';
