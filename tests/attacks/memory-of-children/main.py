import os, time
for _ in range(16):
    if os.fork() == 0:
        data = bytearray(32 << 20)
        for at in range(0, len(data), 4096):
            data[at] = 1
        time.sleep(20)
        os._exit(0)
time.sleep(5)
print("BROKEN 512 MiB in children")
