package lessons

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// source is a file of the product into which faults are planted. A function with
// a fault stays as it is but for its first statement, which hands over to a copy
// that has the fault, where the process was started with that one. So one build
// serves all faults of a package, and what runs without one is the product.
type source struct {
	name  string
	text  string
	files *token.FileSet
	tree  *ast.File
	edits []edit
	more  []string        // the copies
	named map[string]bool // functions whose blanks have got names
}

// edit is text to put in at an offset.
type edit struct {
	at   int
	del  int
	text string
}

func read(name string) (*source, error) {
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		return nil, err
	}
	s := &source{name: name, text: string(text), files: token.NewFileSet(), named: map[string]bool{}}
	s.tree, err = parser.ParseFile(s.files, name, text, parser.SkipObjectResolution)
	return s, err
}

func (s *source) offset(p token.Pos) int { return s.files.Position(p).Offset }

// plant adds the i-th fault.
func (s *source) plant(i int, p plant) error {
	if n := strings.Count(s.text, p.old); n != 1 || p.old == p.new {
		return fmt.Errorf("%s has %d times\n%s", p.file, n, p.old)
	}
	from := strings.Index(s.text, p.old)
	for _, d := range s.tree.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || from < s.offset(f.Pos()) || from+len(p.old) > s.offset(f.End()) {
			continue
		}
		start, end := s.offset(f.Pos()), s.offset(f.End())
		planted := s.text[start:from] + p.new + s.text[from+len(p.old):end]
		name := fmt.Sprintf("%sPlanted%d", f.Name.Name, i)
		at := s.offset(f.Name.Pos()) - start
		s.more = append(s.more, planted[:at]+name+planted[at+len(f.Name.Name):])
		s.handOver(f, i, name)
		return nil
	}
	return fmt.Errorf("%s: no function holds\n%s", p.file, p.old)
}

// handOver lets a function begin by handing over to a copy of it.
func (s *source) handOver(f *ast.FuncDecl, i int, to string) {
	var args []string
	blank := 0
	fields := slices.Clone(f.Type.Params.List)
	if f.Recv != nil {
		fields = append(slices.Clone(f.Recv.List), fields...)
	}
	for _, field := range fields {
		_, rest := field.Type.(*ast.Ellipsis)
		for _, name := range field.Names {
			word := name.Name
			if word == "_" {
				word = fmt.Sprintf("blank%d", blank)
				blank++
				if !s.named[f.Name.Name] {
					s.edits = append(s.edits, edit{s.offset(name.Pos()), 1, word})
				}
			}
			if rest {
				word += "..."
			}
			args = append(args, word)
		}
	}
	s.named[f.Name.Name] = true
	if f.Recv != nil {
		to, args = args[0]+"."+to, args[1:]
	}
	call := to + "(" + strings.Join(args, ", ") + ")"
	if f.Type.Results != nil {
		call = "return " + call
	} else {
		call += "; return"
	}
	s.edits = append(s.edits, edit{s.offset(f.Body.Lbrace) + 1, 0, fmt.Sprintf("\n\tif plantedHere == %q { %s }\n", fmt.Sprint(i), call)})
}

// planted is the file with all its faults lying ready.
func (s *source) planted() []byte {
	edits := slices.Clone(s.edits)
	slices.SortStableFunc(edits, func(x, y edit) int { return cmp.Compare(y.at, x.at) })
	out := s.text
	for _, e := range edits {
		out = out[:e.at] + e.text + out[e.at+e.del:]
	}
	return []byte(out + "\n" + strings.Join(s.more, "\n\n") + "\n")
}
