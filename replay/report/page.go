package report

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"sync"
)

//go:embed page/*.tmpl page/style.css page/print.js
var files embed.FS

// shell is what every page has around its content.
type shell struct {
	Kind, Title, Sub string
	Headline         []string
	Facts            []fact
	Warnings         []string
	Nav              []link
}

type link struct{ Anchor, Name string }

// Style returns the style sheet with the colours of the palette.
func (shell) Style() (template.CSS, error) {
	sheet, err := files.ReadFile("page/style.css")
	return colours() + template.CSS(sheet), err
}

// Script returns the few lines that open what is folded before a page is
// printed, for browsers whose style sheets cannot.
func (shell) Script() (template.JS, error) {
	code, err := files.ReadFile("page/print.js")
	return template.JS(code), err
}

// Policy forbids the page everything but its own style and that one script.
func (s shell) Policy() (string, error) {
	code, err := s.Script()
	sum := sha256.Sum256([]byte(code))
	return "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-" +
		base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'", err
}

var templates = sync.OnceValues(func() (*template.Template, error) {
	return template.New("report").ParseFS(files, "page/*.tmpl")
})

// write fills a page in memory first, so that a fault in it leaves no half page.
func write(w io.Writer, page string, content any) error {
	all, err := templates()
	if err != nil {
		return fmt.Errorf("parse report templates: %w", err)
	}
	var b bytes.Buffer
	if err := all.ExecuteTemplate(&b, page, content); err != nil {
		return fmt.Errorf("fill report: %w", err)
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
