read -r n
echo "$((n + 1)) $1 ${0##*/}" | cat
