#!/usr/bin/busybox sh
# The first process of the machine. Its root is one that can't be pivoted away from, so all of it moves to a tmpfs.
b=/usr/bin/busybox
$b mount -t tmpfs -o size=900m tmpfs /newroot
for folder in usr etc test bin lib lib64 sbin second; do $b cp -a "/$folder" /newroot/; done
$b mkdir -p /newroot/proc /newroot/sys /newroot/dev /newroot/tmp
exec $b switch_root /newroot /second
