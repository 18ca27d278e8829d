import os
written = 0
try:
    with open("/dev/shm/big", "wb") as big:
        for _ in range(1024):
            big.write(bytes(1 << 20))
            big.flush()
            written += 1
except OSError:
    pass
if written > 300:
    print("BROKEN", written, "MiB in /dev/shm")
print("held")
