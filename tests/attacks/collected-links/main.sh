ln -s /etc/passwd a
ln -s /etc b
ln -s ../../../../etc/shadow c
mkfifo d
mkdir e && ln -s /etc/passwd e/f
python3 - <<'PY' &
import os
while True:
    try:
        os.symlink("/etc/passwd", "swap.new"); os.replace("swap.new", "swap")
        open("swap.new", "w").close(); os.replace("swap.new", "swap")
    except OSError:
        pass
PY
sleep 0.3
echo held
