package main

import (
	"fmt"
	"math"
	"strings"
)

// Recursion: a million calls deep, mutual, with closures and over structures.
type expr interface{ eval() float64 }
type number float64
type binary struct {
	op          byte
	left, right expr
}

func (n number) eval() float64 { return float64(n) }
func (b binary) eval() float64 {
	l, r := b.left.eval(), b.right.eval()
	switch b.op {
	case '+':
		return l + r
	case '-':
		return l - r
	case '*':
		return l * r
	}
	return l / r
}

func parse(in *strings.Reader) expr {
	c, _ := in.ReadByte()
	if c >= '0' && c <= '9' {
		return number(c - '0')
	}
	left := parse(in)
	return binary{c, left, parse(in)}
}

func sum(n int) int {
	if n == 0 {
		return 0
	}
	return n + sum(n-1)
}

func even(n int) bool { return n == 0 || odd(n-1) }
func odd(n int) bool  { return n != 0 && even(n-1) }

func hanoi(n int, from, to, over string, move func(string, string)) {
	if n > 0 {
		hanoi(n-1, from, over, to, move)
		move(from, to)
		hanoi(n-1, over, to, from, move)
	}
}

func main() {
	fmt.Println("sum:", sum(300000), "even:", even(99999))
	var ackermann func(m, n int) int
	ackermann = func(m, n int) int {
		if m == 0 {
			return n + 1
		} else if n == 0 {
			return ackermann(m-1, 1)
		}
		return ackermann(m-1, ackermann(m, n-1))
	}
	fmt.Println("ackermann:", ackermann(2, 100), ackermann(3, 8))
	var moves []string
	hanoi(3, "A", "C", "B", func(a, b string) { moves = append(moves, a+b) })
	fmt.Println(moves)
	for _, text := range []string{"+1*23", "/1-33", "-0/13", "/0-22"} {
		value := parse(strings.NewReader(text)).eval()
		fmt.Printf("%s = %v %8.3f %t\n", text, value, value, math.IsNaN(value))
	}
	deep := strings.Repeat("+1", 100000) + "0"
	fmt.Println(parse(strings.NewReader(deep)).eval(), -7/2, -7%2, math.MaxInt64, uint8(len(deep)))
}
