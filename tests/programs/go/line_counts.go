package main

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

var (
	word   = regexp.MustCompile(`\p{L}[\p{L}\p{M}'’]*`)
	amount = regexp.MustCompile(`(?i)(?P<n>\d+(?:\.\d+)?)\s*(?P<unit>kg|km|€)`)
)

func reverse(s string) string {
	runes := []rune(s)
	for i, j := 0, len(runes)-1; i < j; i, j = i+1, j-1 {
		runes[i], runes[j] = runes[j], runes[i]
	}
	return string(runes)
}

// Reads lines, of which one is longer than a scanner likes by default.
func main() {
	scanner := bufio.NewScanner(os.Stdin)
	scanner.Buffer(nil, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	counts := map[string]int{}
	units := map[string]float64{}
	lines := 0
	for scanner.Scan() {
		lines++
		line := scanner.Text()
		words := word.FindAllString(line, -1)
		for _, w := range words {
			counts[strings.ToLower(w)]++
		}
		for _, match := range amount.FindAllStringSubmatch(line, -1) {
			var n float64
			fmt.Sscan(match[amount.SubexpIndex("n")], &n)
			units[strings.ToLower(match[amount.SubexpIndex("unit")])] += n
		}
		first := "-"
		if len(words) > 0 {
			first = strings.Map(func(r rune) rune {
				if unicode.IsUpper(r) {
					return unicode.ToLower(r)
				}
				return unicode.ToUpper(r)
			}, reverse(words[0]))
		}
		fmt.Fprintf(out, "%d: %d bytes, %d runes, %d words, valid %t, first %s\n", lines, len(line), utf8.RuneCountInString(line), len(words), utf8.ValidString(line), first)
	}
	keys := make([]string, 0, len(counts))
	for key := range counts {
		keys = append(keys, key)
	}
	sort.Slice(keys, func(i, j int) bool {
		if counts[keys[i]] != counts[keys[j]] {
			return counts[keys[i]] > counts[keys[j]]
		}
		return keys[i] < keys[j]
	})
	for _, key := range keys[:5] {
		fmt.Fprintf(out, "%-8q %s\n", key, strings.Repeat("=", counts[key]))
	}
	fmt.Fprintln(out, units, scanner.Err(), amount.ReplaceAllString("5 kg", "${unit}:$n"))
}
