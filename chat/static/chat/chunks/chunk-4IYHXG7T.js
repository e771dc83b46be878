var r=new ResizeObserver(t=>{for(let{target:e}of t)e.scrollHeight>e.clientHeight?e.setAttribute("tabindex","0"):e.removeAttribute("tabindex")}),o=t=>r.observe(t);export{o as a};
