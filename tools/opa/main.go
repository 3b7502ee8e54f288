// The Rego compiler and test runner that Steeltown's policies are built with. See tools/policies.js for how it is used.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/open-policy-agent/opa/v1/compile"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/version"
)

const usage = `usage:
  opa version                                    the version of the engine
  opa compile <out.wasm> <entrypoint> <file...>  compile one entrypoint to WebAssembly
  opa test <dir>                                 run the tests below dir; exit code 1 when one fails or there is none
  opa eval <entrypoint> <file...>                one JSON input a line in, one JSON answer a line out (null: undefined)`

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "version":
		fmt.Println(version.Version)
		return nil
	case len(args) >= 4 && args[0] == "compile":
		return compileWasm(ctx, args[1], args[2], args[3:])
	case len(args) == 2 && args[0] == "test":
		return test(ctx, args[1])
	case len(args) >= 3 && args[0] == "eval":
		return eval(ctx, args[1], args[2:])
	}
	return errors.New(usage)
}

// No optimisation: above level 0 the compiler has been seen to crash on entrypoints that are constant.
func compileWasm(ctx context.Context, out, entrypoint string, files []string) error {
	compiler := compile.New().WithTarget(compile.TargetWasm).WithEntrypoints(entrypoint).WithPaths(files...)
	if err := compiler.Build(ctx); err != nil {
		return err
	}
	modules := compiler.Bundle().WasmModules
	if len(modules) != 1 {
		return fmt.Errorf("%s: expected one WebAssembly module, got %d", entrypoint, len(modules))
	}
	return os.WriteFile(out, modules[0].Raw, 0o644)
}

func test(ctx context.Context, dir string) error {
	results, err := tester.Run(ctx, dir)
	if err != nil {
		return err
	}
	failed := 0
	for _, result := range results {
		fmt.Print(result)
		if !result.Pass() {
			failed++
		}
	}
	if failed > 0 || len(results) == 0 {
		return fmt.Errorf("%d of %d policy tests failed", failed, len(results))
	}
	return nil
}

func eval(ctx context.Context, entrypoint string, files []string) error {
	query := rego.Query("data." + strings.ReplaceAll(entrypoint, "/", "."))
	prepared, err := rego.New(query, rego.Load(files, nil)).PrepareForEval(ctx)
	if err != nil {
		return err
	}
	answers := json.NewEncoder(os.Stdout)
	inputs := json.NewDecoder(bufio.NewReader(os.Stdin))
	for inputs.More() {
		var input any
		if err := inputs.Decode(&input); err != nil {
			return err
		}
		results, err := prepared.Eval(ctx, rego.EvalInput(input))
		if err != nil {
			return err
		}
		var answer any
		if len(results) > 0 {
			answer = results[0].Expressions[0].Value
		}
		if err := answers.Encode(answer); err != nil {
			return err
		}
	}
	return nil
}
