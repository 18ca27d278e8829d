#!/usr/bin/env bash
# Sorting without sort, and then with it, over a pseudo-random list.
seed=2024
next() { seed=$(((seed * 1103515245 + 12345) & 0x7fffffff)); value=$((seed >> 8 & 1023)); }

quick() { # quick low high: sorts the array "list" in place
  local low=$1 high=$2 i j pivot swap
  ((low < high)) || return 0
  i=$low j=$high pivot=${list[(low + high) / 2]}
  while ((i <= j)); do
    while ((list[i] < pivot)); do ((i++)); done
    while ((list[j] > pivot)); do ((j--)); done
    if ((i <= j)); then
      swap=${list[i]} list[i]=${list[j]} list[j]=$swap
      ((i++, j--))
    fi
  done
  quick "$low" "$j"
  quick "$i" "$high"
}

bubble() {
  local -n items=$1
  local n i swap changed=1
  for ((n = ${#items[@]}; changed; n--)); do
    changed=0
    for ((i = 1; i < n; i++)); do
      if [[ ${items[i - 1]} > ${items[i]} ]]; then
        swap=${items[i]} items[i]=${items[i - 1]} items[i - 1]=$swap changed=1
      fi
    done
  done
}

list=()
for ((k = 0; k < 200; k++)); do next; list+=("$value"); done
mapfile -t wanted < <(printf '%s\n' "${list[@]}" | sort -n)
echo "before: ${list[*]:0:10}"
quick 0 $((${#list[@]} - 1))
echo "after:  ${list[*]:0:10} ... ${list[*]: -3}"
[[ ${list[*]} == "${wanted[*]}" ]] && echo "as sort has it" || echo "not as sort has it"

words=(pear fig apple kiwi banana cherry)
LC_ALL=C bubble words
echo "${words[@]}"
printf '%s\n' "${words[@]}" | LC_ALL=C sort -k1.2,1.2 | { while read -r word; do printf '%s ' "${word:1:1}:$word"; done; echo; }
unset 'words[2]'
echo "indices ${!words[*]}, ${#words[@]} left, slice ${words[*]:2:2}"
