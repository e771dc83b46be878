import{a,b}from"./chunk-TNE6PWMW.js";import"./chunk-DCANE7XH.js";export{b as markFound,a as splitAround};
