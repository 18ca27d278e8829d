#!/usr/bin/env bash
# Reads a small ledger from standard input and adds it up.
declare -A sum=() count=()
number=0
bad=()
while IFS=';' read -r date who amount rest || [[ -n $date ]]; do
  number=$((number + 1))
  [[ $date == '#'* || -z $date ]] && continue
  if [[ ! $date =~ ^([0-9]{4})-([0-9]{2})-([0-9]{2})$ ]]; then
    bad+=("$number:$date")
    continue
  fi
  year=${BASH_REMATCH[1]} month=${BASH_REMATCH[2]#0}
  if [[ $amount =~ ^(-?)([0-9]+)\.([0-9]{2})$ ]]; then
    cents=$((${BASH_REMATCH[1]}(10#${BASH_REMATCH[2]}${BASH_REMATCH[3]})))
  else
    bad+=("$number:$amount")
    continue
  fi
  who=${who#"${who%%[![:space:]]*}"}
  who=${who%"${who##*[![:space:]]}"}
  sum[$who]=$((${sum[$who]:-0} + cents))
  count[$who]=$((${count[$who]:-0} + 1))
  echo "$number: $year/$month ${who^} ${who@Q}${rest:+ ($rest)}"
done

money() { printf '%s%d.%02d' "$([[ $1 -lt 0 ]] && echo -)" $((${1#-} / 100)) $((${1#-} % 100)); }

echo "-- totals"
for who in "${!sum[@]}"; do
  printf '%-12s %2d %10s\n' "$who" "${count[$who]}" "$(money "${sum[$who]}")"
done | LC_ALL=C sort
echo "-- ${#bad[@]} bad: ${bad[*]}"
exit "${#bad[@]}"
