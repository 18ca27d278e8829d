import glob, os
def opens(path, flags):
    try:
        os.close(os.open(path, flags))
        return True
    except OSError:
        return False
for path in ["/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sys/vm/drop_caches",
             "/sys/kernel/uevent_helper", "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/memory/cgroup.procs"]:
    if opens(path, os.O_WRONLY):
        print("BROKEN", path, "can be written")
for path in ["/proc/kcore", "/proc/1/mem", "/proc/1/root/etc/shadow", "/dev/mem", "/dev/kmem", "/dev/sda", "/dev/vda"]:
    if opens(path, os.O_RDONLY):
        print("BROKEN", path, "can be read")
try:
    environment = open("/proc/1/environ").read()
except OSError:
    environment = ""
for variable in filter(None, environment.split("\0")):
    if variable.split("=")[0] not in {"PATH", "HOSTNAME", "HOME", "TERM"}:
        print("BROKEN the environment of the first process has", variable)
own = {os.getpid(), 1, os.getppid()}
others = [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) not in own]
if others:
    print("BROKEN other processes are seen:", others)
print("held")
