import sys

print(int(input()) + 1, sys.argv[1:], sys.argv[0])
