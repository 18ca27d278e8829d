#!/usr/bin/env bash
# Options with getopts, quoting, and what becomes of arguments on the way.
usage() {
  echo "usage: ${0##*/} [-v] [-n count] [-s separator] word..." | cat >&2
  exit 64
}

verbose=0 count=1 separator=' '
while getopts ':vn:s:' option; do
  case $option in
    v) verbose=$((verbose + 1)) ;;
    n) count=$OPTARG ;;
    s) separator=$OPTARG ;;
    :) echo "-$OPTARG wants a value"; usage ;;
    *) echo "no option -$OPTARG"; usage ;;
  esac
done
shift $((OPTIND - 1))

join() {
  local separator=$1 out=$2
  shift 2
  for word; do out+=$separator$word; done
  printf '%s\n' "$out"
}

((verbose)) && echo "verbose $verbose, count $count, $# words"
for ((i = 0; i < count; i++)); do join "$separator" "$@"; done
i=0
for word in "$@"; do
  printf '%d <%s> %d characters, quoted %q\n' $((++i)) "$word" "${#word}" "$word"
done
last=${*: -1}
echo "upper ${last^^}, first two ${last:0:2}, without vowels ${last//[aeiou]/}, default ${unset_thing:-none}"
set -- $'tab\there' '*' "$@"
echo "$# now: ${1/$'\t'/<tab>} $2 ${!#}"
set -- a "$(join : x y)" "${@:3:2}"
echo "$* | $#"
set -- -q; OPTIND=1
getopts ':v' option
echo "option is $option, argument $OPTARG"
(usage) 2>/dev/null
echo "usage would end with $?"
