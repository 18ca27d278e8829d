import os
for path in ["/proc/self/exe", "/proc/1/exe", "/usr/bin/python3", "/bin/sh", "/.sandboxd/agent"]:
    try:
        os.close(os.open(path, os.O_WRONLY))
        print("BROKEN", path, "can be written")
    except OSError:
        pass
print("held")
