import os
for name in [b"a\nb", b"\xff\xfe", b"..attack", b"-rf", b"\x1b[31m", b"a" * 255]:
    open(name, "w").close()
print("held")
