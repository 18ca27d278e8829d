import os
count = 0
try:
    for count in range(200_000):
        os.close(os.open(f"f{count}", os.O_CREAT | os.O_WRONLY))
except OSError:
    pass
if count > 100_000:
    print("BROKEN", count, "files")
print("held")
