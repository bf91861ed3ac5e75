package runbooks

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"

	"github.com/sreagent/sreagent/sre"
)

// Bounds on what one expression may cost. A runbook is judged for every open
// incident at every tick, so an expression that walks the square of a fleet is
// stopped, not waited for.
const (
	costLimit      = 200_000
	maxExpression  = 4096
	maxDepthOfExpr = 64
	maxPrograms    = 1024
)

// reading names a function that looks at the snapshot. has_value is not one of
// them: asking whether there is data is not looking at it.
var readingFunctions = []string{
	"value", "errors", "traffic", "served", "latency", "queue", "occupancy", "retry_share", "max_errors",
}

// language is the expression language with its compiled programs.
type language struct {
	env *cel.Env

	mu       sync.Mutex
	programs map[string]*program
}

// program is one compiled expression.
type program struct {
	run    cel.Program
	out    *cel.Type
	looks  bool // asks for at least one reading
	rooted bool // speaks of the cause or its callers
}

func newLanguage() (*language, error) {
	text, number, list := cel.StringType, cel.DoubleType, cel.ListType(cel.StringType)
	options := []cel.EnvOption{
		cel.Variable("root", text), cel.Variable("mechanism", text), cel.Variable("severity", text),
		cel.Variable("probability", number), cel.Variable("confidence", number),
		cel.Variable("blast_share", number), cel.Variable("data_quality", number),
		cel.Variable("affected", list), cel.Variable("callers", list), cel.Variable("entries", list),
		cel.Variable("attempt", cel.IntType), cel.Variable("target", text), cel.Variable("callee", text), cel.Variable("fleet", cel.IntType),
		cel.Variable("alternatives", list),
		cel.Variable("has_change", cel.BoolType), cel.Variable("change_kind", text), cel.Variable("change_service", text),
		function("callers_of", list, text), function("callees_of", list, text), function("upstream", list, text),
		function("is_entry", cel.BoolType, text), function("full", cel.BoolType, text), function("needs", cel.BoolType, text, text), function("can", cel.BoolType, text), function("change_age", number),
		function("value", number, text, text, text), function("has_value", cel.BoolType, text, text, text),
		function("max_errors", number, list), function("caller_timeout", number, text, number),
		ext.Math(), cel.CrossTypeNumericComparisons(true),
		cel.ParserExpressionSizeLimit(maxExpression), cel.ParserRecursionLimit(maxDepthOfExpr),
	}
	for _, name := range []string{"errors", "traffic", "served", "latency", "queue", "occupancy", "retry_share"} {
		options = append(options, function(name, number, text))
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		return nil, fmt.Errorf("set up the expression language: %w", err)
	}
	return &language{env: env, programs: map[string]*program{}}, nil
}

// function declares a function whose body is given with each evaluation, since
// it closes over that evaluation's snapshot.
func function(name string, result *cel.Type, args ...*cel.Type) cel.EnvOption {
	return cel.Function(name, cel.Overload(name+"_of", args, result, cel.LateFunctionBinding()))
}

// program returns the compiled form of an expression. Expressions of plans that
// were restored from a trail are compiled when they are first asked for.
func (l *language) program(expr string) (*program, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p, ok := l.programs[expr]; ok {
		return p, nil
	}
	p, err := l.compile(expr)
	if err != nil {
		return nil, err
	}
	if len(l.programs) < maxPrograms {
		l.programs[expr] = p
	}
	return p, nil
}

func (l *language) compile(expr string) (*program, error) {
	tree, issues := l.env.Compile(expr)
	if issues.Err() != nil {
		return nil, plainIssues(issues)
	}
	looks, err := inspect(tree)
	if err != nil {
		return nil, err
	}
	rooted := false
	celast.PostOrderVisit(tree.NativeRep().Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		rooted = rooted || e.Kind() == celast.IdentKind && (e.AsIdent() == "root" || e.AsIdent() == "callers")
	}))
	run, err := l.env.Program(tree, cel.CostLimit(costLimit))
	if err != nil {
		return nil, fmt.Errorf("plan the expression: %w", err)
	}
	return &program{run: run, out: tree.OutputType(), looks: looks, rooted: rooted}, nil
}

// plainIssues keeps the messages and the character at which each stands, and
// drops the drawing of the source line that CEL adds.
func plainIssues(issues *cel.Issues) error {
	var parts []string
	for _, e := range issues.Errors() {
		place := "character " + strconv.Itoa(e.Location.Column()+1)
		if e.Location.Line() > 1 {
			place = "line " + strconv.Itoa(e.Location.Line()) + ", " + place
		}
		parts = append(parts, strings.TrimSpace(strings.ReplaceAll(e.Message, "\n", " "))+" (at "+place+")")
	}
	return fmt.Errorf("expression: %s", strings.Join(parts, "; "))
}

// inspect reports whether an expression asks for readings, and refuses kinds
// and units that do not exist: they would be no data for ever.
func inspect(tree *cel.Ast) (looks bool, err error) {
	celast.PostOrderVisit(tree.NativeRep().Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		if e.Kind() != celast.CallKind {
			return
		}
		call := e.AsCall()
		name := call.FunctionName()
		looks = looks || slices.Contains(readingFunctions, name)
		if err != nil {
			return
		}
		if name == "can" {
			if kind, ok := literal(call.Args()[0]); ok && !sre.ActionKind(kind).Valid() {
				err = fmt.Errorf("expression: can asks for action kind %q, which is none of %s", kind, joined(sre.ActionKinds()))
			}
			return
		}
		if name != "value" && name != "has_value" {
			return
		}
		if kind, ok := literal(call.Args()[1]); ok && !sre.SignalKind(kind).Valid() {
			err = fmt.Errorf("expression: %s asks for signal kind %q, which is none of %s", name, kind, joined(sre.SignalKinds()))
			return
		}
		if unit, ok := literal(call.Args()[2]); ok && !sre.Unit(unit).Valid() {
			err = fmt.Errorf("expression: %s asks for unit %q, which is none of %s", name, unit, joined(sre.Units()))
		}
	}))
	return looks, err
}

func literal(e celast.Expr) (string, bool) {
	if e.Kind() != celast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().(types.String)
	return string(s), ok
}

// isNumber reports whether an expression gives a number.
func (p *program) isNumber() bool {
	return p.out.IsExactType(cel.DoubleType) || p.out.IsExactType(cel.IntType) || p.out.IsExactType(cel.UintType)
}

// paramType names the type of a parameter's expression as capabilities do;
// empty where the type is none that a parameter can have.
func (p *program) paramType() string {
	switch {
	case p.isNumber():
		return "number"
	case p.out.IsExactType(cel.StringType):
		return "string"
	case p.isBool():
		return "bool"
	}
	return ""
}

func (p *program) isBool() bool { return p.out.IsExactType(cel.BoolType) }

// joined lists a closed set for a message.
func joined[T ~string](set []T) string {
	words := make([]string, len(set))
	for i, w := range set {
		words[i] = string(w)
	}
	return strings.Join(words, ", ")
}
