function r(e){return e.returnValue="",e.showModal(),new Promise(n=>{e.addEventListener("close",()=>n(e.returnValue==="yes"),{once:!0})})}export{r as a};
