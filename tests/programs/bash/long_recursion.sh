#!/usr/bin/env bash
# Functions that call themselves, long additions, text in UTF-8, and many lines.
export LC_ALL=C.UTF-8
hanoi() {
  (($1)) || return 0
  hanoi $(($1 - 1)) "$2" "$4" "$3"
  moves+=("$2$3")
  hanoi $(($1 - 1)) "$4" "$3" "$2"
}
moves=()
hanoi 7 A C B
echo "${#moves[@]} moves, ${moves[*]:0:5} ... ${moves[*]: -2}"

depth() { (($1 == 0)) && total=0 && return; depth $(($1 - 1)); total=$((total + $1)); }
depth 1000
echo "sum to 1000 by recursion: $total"

add() { # adds two numbers of any length, given as digits, into "sum"
  local a=$1 b=$2 carry=0 i
  while ((${#a} < ${#b})); do a=0$a; done
  while ((${#b} < ${#a})); do b=0$b; done
  sum=
  for ((i = ${#a} - 1; i >= 0; i--)); do
    carry=$((carry + ${a:i:1} + ${b:i:1}))
    sum=$((carry % 10))$sum
    carry=$((carry / 10))
  done
  ((carry)) && sum=$carry$sum
  return 0
}
a=0 b=1
for ((n = 0; n < 150; n++)); do add "$a" "$b"; a=$b b=$sum; done
echo "fibonacci(150) = $a"

text='Größe 漢字 😀'
reversed=
for ((i = ${#text} - 1; i >= 0; i--)); do reversed+=${text:i:1}; done
echo "$reversed, ${#text} characters, ${text^^}"
printf '%d %x %b\n' "'€" "'漢" '\u00e9\U1F600'
for ((n = 1; n <= 6000; n++)); do
  bits= rest=$n
  while ((rest)); do bits=$((rest & 1))$bits; ((rest >>= 1)); done
  printf '%6d %16s %6o %4x %12d %s\n' "$n" "$bits" "$n" "$n" $((n * n)) "${bits//0/.}"
done
