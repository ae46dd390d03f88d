// The SQL editor. It lives in a shadow root: there its styles are adopted sheets, which the page's strict content
// security policy allows, where style elements would be refused.

import { type Completion, type CompletionContext, acceptCompletion, autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from '@codemirror/autocomplete'
import { defaultKeymap, history, historyKeymap } from '@codemirror/commands'
import { SQLDialect, sql } from '@codemirror/lang-sql'
import { HighlightStyle, bracketMatching, syntaxHighlighting } from '@codemirror/language'
import { EditorState, Prec, StateEffect, StateField } from '@codemirror/state'
import { Decoration, type DecorationSet, EditorView, drawSelection, highlightActiveLine, highlightSpecialChars, keymap, lineNumbers, placeholder } from '@codemirror/view'
import { tags } from '@lezer/highlight'
import type { Catalog } from '../shell/api'
import { type Mark, tablesIn } from './place'
import { nameOf } from './tables'

const DIALECT = SQLDialect.define({
  keywords:
    'all and any as asc between by case cast cross current date_part desc describe distinct else end escape except exclude exists explain extract false filter first following for from full group grouping having ilike in inner intersect interval is join lateral last left like limit natural not null nulls offset on or order outer over partition preceding qualify range recursive right row rows select sets show similar some table then to true unbounded union unnest using values when where window with within',
  types: 'bigint boolean date decimal double float int integer interval numeric real smallint text time timestamp tinyint varchar',
  doubleDollarQuotedStrings: false,
  operatorChars: '*+-%<>!=&|/~^',
  identifierQuotes: '"',
})

const STYLE = HighlightStyle.define([
  { tag: tags.keyword, color: 'var(--river-strong)', fontWeight: '600' },
  { tag: [tags.string, tags.special(tags.string)], color: 'var(--warn)' },
  { tag: [tags.number, tags.bool, tags.null], color: 'var(--code-number)' },
  { tag: tags.typeName, color: 'var(--code-number)' },
  { tag: tags.comment, color: 'var(--ink-3)', fontStyle: 'italic' },
  { tag: tags.special(tags.name), color: 'var(--ink)' },
  { tag: [tags.operator, tags.punctuation], color: 'var(--ink-2)' },
])

const THEME = EditorView.theme({
  '&': { height: '100%', color: 'var(--ink)', backgroundColor: 'transparent', fontSize: '13.5px' },
  '&.cm-focused': { outline: 'none' },
  '.cm-scroller': { fontFamily: 'var(--mono)', lineHeight: '1.6', overflow: 'auto' },
  '.cm-content': { padding: '10px 0', caretColor: 'var(--river)' },
  '.cm-line': { padding: '0 14px 0 8px' },
  '.cm-cursor': { borderLeftColor: 'var(--river)', borderLeftWidth: '2px' },
  '.cm-gutters': { backgroundColor: 'transparent', color: 'var(--ink-3)', border: 'none', paddingLeft: '8px' },
  '.cm-activeLine, .cm-activeLineGutter': { backgroundColor: 'transparent' },
  '&.cm-focused .cm-activeLine': { backgroundColor: 'color-mix(in srgb, var(--river-soft) 38%, transparent)' },
  '.cm-selectionBackground, &.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground': { backgroundColor: 'color-mix(in srgb, var(--river) 26%, transparent)' },
  '.cm-matchingBracket, &.cm-focused .cm-matchingBracket': { backgroundColor: 'var(--river-soft)', color: 'inherit' },
  '.cm-placeholder': { color: 'var(--ink-3)' },
  '.cm-mistake': { textDecoration: 'underline wavy var(--bad) 1.5px', textUnderlineOffset: '4px', backgroundColor: 'var(--bad-soft)', borderRadius: '3px' },
  '.cm-tooltip': { border: '1px solid var(--line)', borderRadius: '8px', backgroundColor: 'var(--raised)', color: 'var(--ink)', boxShadow: 'var(--shadow-high)', overflow: 'hidden' },
  '.cm-tooltip.cm-tooltip-autocomplete > ul': { fontFamily: 'var(--mono)', fontSize: '12.5px', maxHeight: '16em' },
  '.cm-tooltip.cm-tooltip-autocomplete > ul > li': { padding: '3px 10px 3px 8px' },
  '.cm-tooltip.cm-tooltip-autocomplete > ul > li[aria-selected]': { backgroundColor: 'var(--river)', color: 'var(--on-river)' },
  '.cm-completionMatchedText': { textDecoration: 'none', fontWeight: '700' },
  '.cm-completionDetail': { marginLeft: '14px', fontStyle: 'normal', opacity: '0.75' },
  '.cm-completionInfo': { padding: '6px 10px', maxWidth: '320px', fontFamily: 'var(--sans)', fontSize: '12.5px' },
  '.cm-completionIcon': { display: 'none' },
})

const setMistake = StateEffect.define<Mark | null>()
const mistake = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update(marks, transaction) {
    let next = transaction.docChanged ? Decoration.none : marks
    for (const effect of transaction.effects)
      if (effect.is(setMistake)) next = effect.value === null || effect.value.to <= effect.value.from ? Decoration.none : Decoration.set([Decoration.mark({ class: 'cm-mistake' }).range(effect.value.from, effect.value.to)])
    return next
  },
  provide: (field) => EditorView.decorations.from(field),
})

export interface Editor {
  text(): string
  /** What a run would send, and where it starts in the text: the selection, or everything. */
  toRun(): { text: string; offset: number }
  setText(text: string): void
  insert(text: string): void
  mark(mark: Mark | null): void
  focus(): void
  destroy(): void
}

export interface Handlers {
  onRun(): void
  onCancel(): boolean
  onChange(text: string): void
  catalog(): Catalog | null
}

/** Tables, columns of the tables that the text names (of all, if it names none), and functions. */
function complete(context: CompletionContext, catalog: Catalog | null) {
  const word = context.matchBefore(/[\w.]+/)
  if (catalog === null || (word === null && !context.explicit)) return null
  const text = context.state.doc.toString()
  const typed = word?.text ?? ''
  const dot = typed.lastIndexOf('.')
  const named = tablesIn(text, catalog)
  const before = dot < 0 ? '' : typed.slice(0, dot).toLowerCase()
  const options: Completion[] = []
  const column = (c: { name: string; type: string }, boost: number) => options.push({ label: c.name, detail: c.type, type: 'property', boost })
  if (dot >= 0) {
    for (const table of catalog.tables) {
      if (table.schema.toLowerCase() === before) options.push({ label: table.name, detail: 'table', type: 'class' })
      if (nameOf(table).toLowerCase() === before || named.aliases.get(before) === nameOf(table)) for (const c of table.columns) column(c, 0)
    }
  } else {
    const tables = named.tables.length > 0 ? catalog.tables.filter((table) => named.tables.includes(nameOf(table))) : catalog.tables
    const columns = new Map(tables.flatMap((table) => table.columns.map((c) => [c.name, c] as const)))
    for (const c of columns.values()) column(c, named.tables.length > 0 ? 3 : 0)
    for (const table of catalog.tables) options.push({ label: nameOf(table), detail: 'table', type: 'class', boost: 2 })
    for (const f of catalog.functions) {
      const open = `${f.name}(`
      options.push({ label: f.name, detail: f.signature.replace(f.name, ''), info: f.about, type: 'function', boost: 1, apply: open })
    }
  }
  return { from: (word?.from ?? context.pos) + dot + 1, options, validFor: /^\w*$/ }
}

export function createEditor(host: HTMLElement, start: string, handlers: Handlers): Editor {
  const root = host.shadowRoot ?? host.attachShadow({ mode: 'open' })
  root.replaceChildren()
  const language = sql({ dialect: DIALECT })
  const view = new EditorView({
    root,
    parent: root as unknown as HTMLElement,
    state: EditorState.create({
      doc: start,
      extensions: [
        lineNumbers(),
        highlightSpecialChars(),
        history(),
        drawSelection(),
        EditorState.allowMultipleSelections.of(true),
        bracketMatching(),
        closeBrackets(),
        highlightActiveLine(),
        EditorView.lineWrapping,
        placeholder('select …'),
        language,
        language.language.data.of({ autocomplete: (context: CompletionContext) => complete(context, handlers.catalog()) }),
        autocompletion({ icons: false, maxRenderedOptions: 60 }),
        syntaxHighlighting(STYLE),
        mistake,
        THEME,
        EditorView.contentAttributes.of({ 'aria-label': 'SQL', spellcheck: 'false', autocapitalize: 'off' }),
        Prec.highest(
          keymap.of([
            { key: 'Mod-Enter', run: () => (handlers.onRun(), true) },
            { key: 'Tab', run: acceptCompletion },
          ]),
        ),
        keymap.of([...closeBracketsKeymap, ...completionKeymap, { key: 'Escape', run: () => handlers.onCancel() }, ...defaultKeymap, ...historyKeymap]),
        EditorView.updateListener.of((update) => {
          if (update.docChanged) handlers.onChange(update.state.doc.toString())
        }),
      ],
    }),
  })

  return {
    text: () => view.state.doc.toString(),
    toRun() {
      const { from, to } = view.state.selection.main
      const chosen = view.state.sliceDoc(from, to)
      return chosen.trim() === '' ? { text: view.state.doc.toString(), offset: 0 } : { text: chosen, offset: from }
    },
    setText(text) {
      view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text }, selection: { anchor: text.length } })
    },
    insert(text) {
      view.dispatch(view.state.replaceSelection(text))
      view.focus()
    },
    mark(mark) {
      const length = view.state.doc.length
      const clipped = mark === null ? null : { from: Math.min(mark.from, length), to: Math.min(mark.to, length) }
      view.dispatch({ effects: setMistake.of(clipped) })
      if (clipped !== null) view.dispatch({ selection: { anchor: clipped.from }, scrollIntoView: true })
    },
    focus: () => view.focus(),
    destroy: () => view.destroy(),
  }
}
