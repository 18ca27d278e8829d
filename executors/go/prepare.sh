# Builds the standard library into a cache of its own, in the ways that a build may ask for it.
set -eu
out=$1

export GOCACHE="$out/cache" GOENV=off GOFLAGS= GOPROXY=off GOTOOLCHAIN=local GOTELEMETRY=off GOPATH="$PWD/go"
mkdir -p "$GOCACHE"
command -v gcc >/dev/null || export CGO_ENABLED=0
go build std

# A first program, so that the files of every imported package are indexed as well.
printf 'package main\n\nimport "fmt"\n\nfunc main() { fmt.Println() }\n' >main.go
go build '-ldflags=-s -w' -o main main.go

# When the cache was last trimmed is a fact of each build: in a sandbox this leads to a file that the build writes.
rm -f "$GOCACHE/trim.txt"
ln -s /box/tmp/go-trimmed "$GOCACHE/trim.txt"
