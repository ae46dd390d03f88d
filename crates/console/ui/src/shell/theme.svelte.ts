// Light or dark: what the system says, until the reader says otherwise.

export type Choice = 'system' | 'light' | 'dark'

const KEY = 'riverrun.theme'
const system = matchMedia('(prefers-color-scheme: dark)')

function stored(): Choice {
  try {
    const value = localStorage.getItem(KEY)
    return value === 'light' || value === 'dark' ? value : 'system'
  } catch {
    return 'system'
  }
}

let choice = $state<Choice>(stored())
let systemDark = $state(system.matches)
system.addEventListener('change', () => {
  systemDark = system.matches
  apply()
})

function apply() {
  document.documentElement.dataset['theme'] = theme.dark ? 'dark' : 'light'
}

export const theme = {
  get choice() {
    return choice
  },
  get dark() {
    return choice === 'dark' || (choice === 'system' && systemDark)
  },
  /** system → the other of light and dark → back. */
  toggle() {
    choice = choice === 'system' ? (systemDark ? 'light' : 'dark') : 'system'
    try {
      if (choice === 'system') localStorage.removeItem(KEY)
      else localStorage.setItem(KEY, choice)
    } catch {
      // Private browsing: the choice lasts as long as the page.
    }
    apply()
  },
}

apply()
