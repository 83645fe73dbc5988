#!/bin/busybox sh
# The guest's first program: the host's files, read-only, below an overlay in memory; then `xtask inside` as process 1.
b=/bin/busybox

fail() {
    echo "guest: cannot $1"
    $b poweroff -f
}

on() { # TYPE PLACE [OPTIONS]
    $b mkdir -p "$2"
    $b mount -t "$1" ${3:+-o "$3"} "$1" "$2" || fail "mount $1 on $2"
}

on proc /proc
on sysfs /sys
on devtmpfs /dev
for module in /modules/*.ko; do
    [ ! -e "$module" ] || $b insmod "$module" || fail "load $module"
done

# What changes on the host while the guest runs may not be seen: without that, each look-up asks the host.
$b mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose root /lower || fail 'mount the root'
on tmpfs /upper mode=0755
$b mkdir /upper/files /upper/work
$b mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work root /new || fail 'mount the overlay'

for at in dev proc sys; do $b mount --move /$at /new/$at || fail "move /$at"; done
on tmpfs /new/run mode=0755
on tmpfs /new/dev/shm mode=1777
on devpts /new/dev/pts mode=0620,ptmxmode=0666,gid=5
on securityfs /new/sys/kernel/security
on tracefs /new/sys/kernel/tracing
on debugfs /new/sys/kernel/debug
on bpf /new/sys/fs/bpf mode=0700
on cgroup2 /new/sys/fs/cgroup
$b ln -s /proc/self/fd /new/dev/fd
for n in 0:stdin 1:stdout 2:stderr; do $b ln -s /proc/self/fd/${n%:*} /new/dev/${n#*:}; done
$b ifconfig lo 127.0.0.1 up || fail 'bring the loopback up'
$b hostname guest
# Dynamically linked: it needs the host's libraries, and goes where it does not hide a file of the host.
$b cp /xtask /new/run/xtask || fail 'copy xtask'
exec $b switch_root /new /run/xtask inside
