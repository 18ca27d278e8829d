#!/usr/bin/busybox sh
# The suite as root, then as a user with a delegated cgroup.
export PATH=/usr/bin:/usr/sbin CI=true TEST_SLACK=20
b=/usr/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
$b mount -t cgroup2 cgroup2 /sys/fs/cgroup
$b chmod 1777 /tmp
echo "== kernel $($b uname -r), cgroup v2 with $($b cat /sys/fs/cgroup/cgroup.controllers)"

echo "== as root"
/test/conformance && echo "== passed as root"

echo "== as a user with a delegated cgroup"
echo "+memory +pids +cpu" >/sys/fs/cgroup/cgroup.subtree_control
$b mkdir /sys/fs/cgroup/delegated
$b chown -R 1500:1500 /sys/fs/cgroup/delegated
$b cat >/tmp/enter <<'END'
#!/bin/sh
echo 0 >/sys/fs/cgroup/delegated/cgroup.procs
exec busybox su tester -s /test/conformance
END
$b sh /tmp/enter && echo "== passed as a user"
$b poweroff -f
