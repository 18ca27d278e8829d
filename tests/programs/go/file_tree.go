package main

import (
	"archive/zip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Arguments name files; they are made in a temporary folder, packed, and read again.
func build(folder string, names []string) error {
	for i, name := range names {
		path := filepath.Join(folder, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(strings.Repeat(name+"\n", 10*i+1)), 0o640); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	folder, err := os.MkdirTemp("", "tree-*")
	if err == nil {
		defer os.RemoveAll(folder)
		err = build(folder, os.Args[1:])
	}
	if err != nil {
		fmt.Println("cannot go on:", err)
		return
	}
	archive, err := os.Create("packed.zip")
	if err != nil {
		panic(err)
	}
	defer os.Remove("packed.zip")
	packer := zip.NewWriter(archive)
	_ = filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		name, _ := filepath.Rel(folder, path)
		fmt.Printf("%-18s dir=%t\n", name, entry.IsDir())
		if entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if part, err := packer.Create(name); err == nil {
			_, _ = part.Write(data)
		}
		return err
	})
	fmt.Println("packed:", packer.Close(), archive.Close())
	unpacked, err := zip.OpenReader("packed.zip")
	if err != nil {
		panic(err)
	}
	defer unpacked.Close()
	for _, file := range unpacked.File {
		part, _ := file.Open()
		hash := sha256.New()
		size, err := io.Copy(hash, part)
		fmt.Printf("%-18s %4d %.6x %v\n", file.Name, size, hash.Sum(nil), err)
	}
	_, err = os.Stat(filepath.Join(folder, "absent"))
	fmt.Println(errors.Is(err, fs.ErrNotExist), os.Rename(filepath.Join(folder, "absent"), "x") != nil)
}
