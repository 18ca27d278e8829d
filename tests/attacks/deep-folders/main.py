import os
depth = 0
try:
    for depth in range(3000):
        os.mkdir("d")
        os.chdir("d")
except OSError:
    pass
open("leaf", "w").close()
print("held")
