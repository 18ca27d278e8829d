for fd in /proc/self/fd/*; do
  case "${fd##*/}" in
    0 | 1 | 2 | 3 | 255) ;;
    *) [ ! -e "$fd" ] || echo "BROKEN descriptor $fd is open: $(readlink "$fd")" ;;
  esac
done
echo held
