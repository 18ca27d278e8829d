#!/usr/bin/env bash
# Loops, arithmetic and arrays: FizzBuzz, a sieve, factors, powers that overflow.
set -euo pipefail

line=()
for ((i = 1; i <= 20; i++)); do
  word=
  ((i % 3)) || word+=Fizz
  ((i % 5)) || word+=Buzz
  line+=("${word:-$i}")
done
(IFS=,; echo "${line[*]}")

limit=300
declare -a composite=() primes=()
for ((n = 2; n <= limit; n++)); do
  [[ ${composite[n]:-} ]] && continue
  primes+=("$n")
  for ((m = n * n; m <= limit; m += n)); do composite[m]=1; done
done
echo "${#primes[@]} primes up to $limit, the last: ${primes[*]: -4}"

factors() {
  local n=$1 p out=
  for ((p = 2; p * p <= n; p++)); do
    while ((n % p == 0)); do out+="$p "; ((n /= p)); done
  done
  ((n > 1)) && out+=$n
  echo "${out% }"
}
for n in 97 360 1001 65537 123456789; do printf '%10d = %s\n' "$n" "$(factors "$n")"; done

fact=1
for ((n = 1; n <= 20; n++)); do ((fact *= n)); done
echo "20! = $fact, once more: $((fact * 21)), hex $(printf '%x' "$fact"), base 36: $((36#zz))"
echo $((7 / -2)) $((-7 % 3)) $((2 ** 62)) $((1 << 3 | 1)) $((0x1f + 010)) $((5 > 3 ? 10 : 20))
printf '%05.1f|%-6s|%6s|%+d|%e|%q|%b\n' 3.14159 ab cd 5 12345.678 "it's a \$" 'tab\there'
