package main

import (
	"errors"
	"fmt"
	"sort"
	"strings"
)

// Type parameters: constraints, a heap, map and reduce, and a tree.
type Ordered interface {
	~int | ~int64 | ~float64 | ~string
}

type Celsius float64

func (c Celsius) String() string { return fmt.Sprintf("%.1f°C", float64(c)) }

func Map[T, U any](in []T, f func(T) U) []U {
	out := make([]U, 0, len(in))
	for _, item := range in {
		out = append(out, f(item))
	}
	return out
}

func Reduce[T, A any](in []T, start A, f func(A, T) A) A {
	for _, item := range in {
		start = f(start, item)
	}
	return start
}

type Tree[K Ordered, V any] struct {
	key         K
	value       V
	left, right *Tree[K, V]
}

func (t *Tree[K, V]) Put(key K, value V) *Tree[K, V] {
	switch {
	case t == nil:
		return &Tree[K, V]{key: key, value: value}
	case key < t.key:
		t.left = t.left.Put(key, value)
	case key > t.key:
		t.right = t.right.Put(key, value)
	default:
		t.value = value
	}
	return t
}

func (t *Tree[K, V]) Each(visit func(K, V)) {
	if t != nil {
		t.left.Each(visit)
		visit(t.key, t.value)
		t.right.Each(visit)
	}
}

var ErrEmpty = errors.New("nothing in it")

func Max[T Ordered](items ...T) (best T, err error) {
	if len(items) == 0 {
		return best, fmt.Errorf("max of %T: %w", best, ErrEmpty)
	}
	return Reduce(items, items[0], func(a, b T) T {
		if b > a {
			return b
		}
		return a
	}), nil
}

func main() {
	words := strings.Fields("the quick brown fox jumps over the lazy dog")
	var tree *Tree[string, int]
	for i, word := range words {
		tree = tree.Put(word, i)
	}
	tree.Each(func(word string, at int) { fmt.Print(word, "@", at, " ") })
	fmt.Println(Map(words, func(s string) int { return len(s) }))
	fmt.Println(Max(Celsius(20.5), Celsius(-3), Celsius(31.25)))
	_, err := Max[float64]()
	fmt.Println(err, errors.Is(err, ErrEmpty))
	sort.SliceStable(words, func(i, j int) bool { return len(words[i]) < len(words[j]) })
	fmt.Printf("%q %v %+v %T\n", words[:3], map[string]int{"b": 2, "a": 1}, struct{ X, Y int }{1, 2}, tree)
}
