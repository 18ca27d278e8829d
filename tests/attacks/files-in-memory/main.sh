dd if=/dev/zero of=big bs=1M count=4096 2>/dev/null
[ "$(stat -c %s big)" -lt 536870912 ] || echo "BROKEN $(stat -c %s big) bytes on a disk of 268435456"
echo held
