#!/usr/bin/env bash
# Pipelines, subshells, traps, background jobs, and an exit code of its own.
trap 'echo "exit trap, status $?"' EXIT
trap 'echo "USR1 arrived"' USR1

false | true | (exit 3) | true
echo "pipeline: ${PIPESTATUS[*]}"
(set -o pipefail; sh -c 'exit 4' | cat; echo "with pipefail: $?")

counter=0
printf '%s\n' a b c | while read -r _; do counter=$((counter + 1)); done
echo "after a pipe: $counter"
while read -r _; do counter=$((counter + 1)); done < <(printf '%s\n' a b c)
echo "after a process substitution: $counter"

for n in 3 1 2; do (exit "$n") & pids[n]=$!; done
for n in 1 2 3; do wait "${pids[n]}"; echo "job $n ended with $?"; done

kill -USR1 $$
sh -c 'kill -TERM $$' 2>/dev/null
echo "terminated: $((128 + 15)) is $?"
no-such-program-here 2>/dev/null
echo "not found: $?"
{ echo out; echo err >&2; } 2>&1 >/dev/null | { read -r line; echo "read: $line"; }

coproc UPPER { while read -r line; do echo "${line^^}"; done; }
echo "to the coprocess" >&"${UPPER[1]}"
read -r answer <&"${UPPER[0]}"
echo "$answer"
upper=$UPPER_PID
exec {UPPER[1]}>&-
wait "$upper"
echo "coprocess: $?"

cat <<END | LC_ALL=C sort -r
$((1 + 1)) two
$(echo 3) three \$escaped
1 one
END
cat <<-'END'
	no $expansion `here`
	END
fail() { local caller=${FUNCNAME[1]}; echo "$caller failed on line ${BASH_LINENO[0]}"; exit 5; }
work() { [[ -e /no/such/file ]] || fail; }
work
echo never
