import os
for path in ["/etc/shadow", "/root/.ssh", "/root/.bashrc", "/etc/ssh/ssh_host_ed25519_key", "/var/lib/docker", "/var/lib/sandboxd",
             "/var/log/syslog", "/home", "/boot/vmlinuz", "/run/secrets"]:
    try:
        if os.path.isdir(path):
            if os.listdir(path):
                print("BROKEN", path, "can be listed")
        else:
            open(path, "rb").read(1)
            if path != "/root/.bashrc":
                print("BROKEN", path, "can be read")
    except OSError:
        pass
for path in ["/attack", "/etc/attack", "/usr/attack", "/usr/bin/attack", "/var/attack", "/root/attack", "/opt/attack"]:
    try:
        open(path, "w").close()
        print("BROKEN", path, "can be written")
    except OSError:
        pass
allowed = {"PATH", "HOME", "LANG", "TMPDIR", "LC_CTYPE"}
strange = set(os.environ) - allowed
if strange:
    print("BROKEN the environment has", sorted(strange))
print("held")
