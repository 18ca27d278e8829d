#!/usr/bin/env bash
# Files here and in the temporary folder, glob patterns, and dates in UTC.
set -u
export TZ=UTC LC_ALL=C
umask 022
temporary=${TMPDIR:-/tmp}/ledger-$$.txt
for name in b.log a.log 'c d.log' .hidden.log; do
  printf '%s\n' "this is $name" "second line" > "$name"
done
for file in *.log; do
  size=0
  while IFS= read -r line; do size=$((size + ${#line} + 1)); done < "$file"
  echo "$file: $size bytes, ${file%.log} ends in ${file##*.}"
done
shopt -s nullglob dotglob extglob
logs=(*.log) none=(*.nothing)
echo "${#logs[@]} with the hidden one, ${#none[@]} of the others"
echo !([.b]*).log
cat ./*.log | sort -u > "$temporary"
echo "appended" >> "$temporary"
mapfile -t lines < "$temporary"
echo "${#lines[@]} lines, first '${lines[0]}', last '${lines[-1]}'"
exec 7<> "$temporary"
read -r -u 7 first
read -r -N 6 -u 7 six
echo "$first | $six"
exec 7>&-
[[ -s $temporary && -f $temporary && ! -d $temporary && ! -x $temporary ]] && echo "a plain file"
set -o noclobber
{ echo again > "$temporary"; } 2>/dev/null || echo "will not overwrite"
echo forced >| "$temporary"
echo "$(<"$temporary")"
for seconds in 0 951827696 1709251199 4102444800; do
  printf '%(%Y-%m-%d %H:%M:%S %a %j)T\n' "$seconds"
done
rm -- "$temporary" "${logs[@]}" && [[ ! -e $temporary ]] && echo "all gone"
