import './design/tokens.css'
import './design/base.css'
import './design/series.css'
import './shell/theme.svelte'
import { mount } from 'svelte'
import App from './App.svelte'

const target = document.getElementById('app')
if (target !== null) mount(App, { target })
