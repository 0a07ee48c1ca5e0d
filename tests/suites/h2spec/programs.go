//go:build programs

// Package suites names the programs that `run` builds, so that `go mod tidy` keeps them and what they import.
package suites

import (
	_ "github.com/summerwind/h2spec/cmd/h2spec"
	_ "github.com/summerwind/h2spec/cmd/h2specd"
)
